"""Everything that runs a model: token batches, the forward pass, fitting into memory, generation, experts."""
