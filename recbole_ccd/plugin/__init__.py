"""What a stage of training does beside its model's own loss: one idea, one file."""
