"""Models: where their files are, how text becomes token ids."""
