"""What arrives: the stream, its blocks, and the loaders to learn and test with."""
