"""Analyses of a result: comparison of regions, niches, colocalization, neighborhood of a spot.

Every public function takes a `Result` and returns tables. None needs Qt.
"""
