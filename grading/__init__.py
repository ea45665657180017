"""Build the assignments' student versions and grade what comes back, on nbgrader."""
