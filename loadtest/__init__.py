"""Load tests of a whole shop (`load`), faults under load (`faults`), benchmarks of single parts (`bench`), and the
number of machines that a load needs (`sizing`)."""
