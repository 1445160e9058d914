"""Checks of a source's values before anything is learned from them.

`series` looks at single series, `survey` collects what it finds in one pass over a source, `clock` and `fit`
look at times and at settings, and `suspicions` turns all of it into sentences with the setting that acts.
"""
