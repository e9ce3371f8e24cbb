"""The space for searching by meaning: what tells articles apart counts, what varies within one does not."""

import numpy as np

from training.export.intents.search_space import fit_search_space, search_layers, unit_rows


def test_what_varies_within_an_article_counts_little() -> None:
    """Thirty articles, told apart by three small coordinates among loud ones: found again by questions not learned."""
    generator = np.random.default_rng(0)
    topics = generator.normal(size=(30, 3))
    articles = np.repeat(np.arange(30), 8)
    noise = generator.normal(scale=4.0, size=(240, 9))
    quiet = topics[articles] + generator.normal(scale=0.1, size=(240, 3))
    states = np.concatenate([quiet, noise], axis=1).astype(np.float32)[:, None]
    known = np.arange(240) % 8 < 6
    space = fit_search_space((1,), states[known], list(articles[known]))
    assert space.centres.shape == (1, 12) and space.directions.shape == (12, 12)

    def nearest(rows: np.ndarray) -> float:
        likeness = rows[~known] @ rows[known].T
        return float(np.mean(articles[known][likeness.argmax(axis=1)] == articles[~known]))

    centred = unit_rows((states - space.centres)[:, 0])
    assert nearest(unit_rows(centred @ space.directions)) > 2 * nearest(centred)


def test_a_middle_layer_and_the_last_are_looked_at() -> None:
    """Also of an encoder of two layers."""
    assert search_layers(12) == (7, 12) and search_layers(2) == (1, 2)
