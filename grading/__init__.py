"""Build the assignments' student versions and grade what comes back, on nbgrader.

What is handed in passes these rooms: `collect` (whose is it?), `clean` (text, pictures, safe HTML),
the kernel in its `sandbox`, the `examiner` who runs and judges, `tables`, and the feedback pages.
`steps` gives each step of each submission a process and a limit of time.
"""
