"""The synthetic world: its questions, how they are rendered, and an endless stream of them."""
