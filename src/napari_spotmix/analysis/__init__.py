"""Questions put to a result: regions compared, niches, colocalization, the neighborhood of a spot.

Every public function takes a `Result` and returns tables. None needs Qt.
"""
