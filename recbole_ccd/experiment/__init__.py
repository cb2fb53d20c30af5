"""What a user asks for: one run, a comparison, a search, an update of a finished run."""
