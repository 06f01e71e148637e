"""What the Snakefile asks: inputs and parameters of the rules, and the machine."""
