"""One file a benchmark; each registers an object that makes items from raw rows (`culnig.data.items.Benchmark`)."""
