"""A trained model that reads and answers: observed once over a set, or run live."""
