"""What the method stands on, and what is done with it.

On the ground floor, below the method: `checks` (what is refused at the doors), `tables` (attributes
as people hold them), `streams` (random numbers), `settings`, `files`, `dropout`. Beside it: `fast`
(where the speed lives), `devices`, `progress`, `checkpoints`. On top: `sources` and `synthetic`
(data), `official` (the authors' files), `recommend`, `experiments`, `results`, `cli`.
"""
