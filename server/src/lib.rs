//! Hosts deployed jobs: their registry, their child processes, their API.
