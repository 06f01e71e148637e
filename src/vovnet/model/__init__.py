"""The vision-language model with its policy head."""
