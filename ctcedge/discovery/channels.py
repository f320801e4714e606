"""Channels of a crop, and the words for them in file names."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

from ctcedge.errors import SettingsError

BRIGHT_FIELD = "BF"

DEFAULT_CHANNELS: Mapping[str, tuple[str, ...]] = {
    BRIGHT_FIELD: (
        "BF",
        "Brightfield",
        "Bright",
        "TL",
        "Trans",
        "Transmitted",
        "Transmission",
        "TD",
        "Hellfeld",
        "Durchlicht",
        "Campo chiaro",
        "Luce trasmessa",
        "Champ clair",
        "Lumière transmise",
        "Campo claro",
        "Luz transmitida",
        "明场",
        "明場",
        "透射光",
    ),
    "DAPI": (
        "DAPI",
        "Hoechst",
        "DNA",
        "Nucleus",
        "Zellkern",
        "Kern",
        "Nucleo",
        "Noyau",
        "细胞核",
        "細胞核",
    ),
    "PE": (
        "PE",
        "CK",
        "Cytokeratin",
        "Zytokeratin",
        "Citocheratina",
        "Cytokératine",
        "Citoqueratina",
        "细胞角蛋白",
    ),
    "APC": ("APC", "CD45"),
    "FITC": ("FITC", "GFP", "EpCAM"),
}
"""Aliases by channel: English, German, Italian, French, Spanish and Chinese."""

ALIASES_OF_FINGERPRINT = DEFAULT_CHANNELS[BRIGHT_FIELD][:8]
"""Aliases of bright field that the hash of the settings contains where the user gives none. Later
ones change no call of an image that was understood before, and are not part of it."""


def fold_alias(alias: str) -> str:
    """Return what is compared of an alias: no case, accents, spaces, `_`, `-` or `.`."""
    return re.sub(r"[ _.-]", "", _without_accents(alias)).casefold()


def channel_table(own: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    """Return the channel of each folded alias; a channel in `own` replaces its default aliases.

    Raises:
        SettingsError: an alias is given for two channels, or bright field has none.
    """
    channel_of: dict[str, str] = {}
    for channel, aliases in own.items():
        for alias in aliases:
            other = channel_of.setdefault(fold_alias(alias), channel)
            if other != channel:
                raise SettingsError(
                    f"channel alias '{alias}' is given for both {other} and {channel}"
                )
    for channel, aliases in DEFAULT_CHANNELS.items():
        if channel not in own:
            for alias in aliases:
                channel_of.setdefault(fold_alias(alias), channel)
    if BRIGHT_FIELD not in channel_of.values():
        raise SettingsError(f"the channel table must give at least one alias of {BRIGHT_FIELD}")
    return channel_of


def channel_regex(own: Mapping[str, tuple[str, ...]]) -> str:
    """Return the regular expression of a channel's word: an alias of several words, or any word."""
    aliases = {"bright field"}
    for table in (DEFAULT_CHANNELS, own):
        aliases.update(alias for channel in table.values() for alias in channel)
    # with accents as one character or two, or without them
    forms = {unicodedata.normalize(form, a) for form in ("NFC", "NFD") for a in aliases}
    forms |= {_without_accents(alias) for alias in aliases}
    several = [re.split(r"[ _-]+", alias) for alias in forms]
    phrases = {"[ _-]".join(map(re.escape, words)) for words in several if len(words) > 1}
    return "|".join([*sorted(phrases), r"[^ _.\-/]+"])


def _without_accents(text: str) -> str:
    letters = unicodedata.normalize("NFKD", text)
    return "".join(letter for letter in letters if not unicodedata.combining(letter))
