"""Bad input: generated and mutated files and command lines, counted by kind and outcome."""
