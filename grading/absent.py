"""Stands for s3rec_mini while an assignment is graded in which students build what it holds."""

raise ImportError("here you build what s3rec_mini holds, so it is not there while this is graded: "
                  "take the import out")
