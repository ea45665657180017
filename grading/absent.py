"""Stands for s3rec_mini while an assignment is graded in which students build what it holds."""

raise ImportError("you build what s3rec_mini holds: it is not there while this is graded")
