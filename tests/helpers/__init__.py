"""What several test modules share: problems and their solutions, memory layouts, tolerances, processes, products."""
