"""Attacks on a release, and the verdict of all of them together: `battery.run(attack_data)`."""
