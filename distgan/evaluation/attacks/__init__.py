"""Attacks on a release, and the verdict of all of them together: `battery.run(scene)`."""
