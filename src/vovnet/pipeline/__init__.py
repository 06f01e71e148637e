"""What a step reads, which code computes it, and from what a result was made."""
