"""Real parts falling ill on purpose: links, servers, disks, clocks. `make faults`."""
