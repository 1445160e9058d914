"""The fragment attack: do windows of members stand in the release more often than windows of non-members?"""
