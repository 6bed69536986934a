"""What keepstream is measured with: `make bench` and its relatives. docs/performance.md tells how to read them."""
