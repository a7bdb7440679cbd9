"""The programs behind every number in the README: see benchmarks/README.md."""
