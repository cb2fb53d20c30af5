"""What everything rests on: errors, seeds, signals, files, memory, processes."""
