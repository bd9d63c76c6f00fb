"""Load on a whole shop (`load`), a shop that is broken under load (`faults`), and benchmarks of single parts."""
