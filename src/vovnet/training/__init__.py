"""Two-stage training: the model under a fixed policy, then model and policy head together."""
