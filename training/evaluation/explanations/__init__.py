"""Why a completion scored as it did: term by term, word by word, and by which ratings. START READING: `explanation`."""
