"""What is written about chips: `text.<layer>`."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, Strict, model_validator

from chipweave.recipe.base import Count, Flag, Node, Positive, Seed, Text, distinct, refused

Window = Literal["quadrants", "centre"]
Question = Literal["presence", "count", "comparison", "area", "relation", "nearest"]

TEXT_PARTS: Final = ("facts", "prompt")
"""What the names of further members of a text layer end in."""

_SHARED: Final = {"kind", "from_", "seed", "prompt"}
_OWN: Final[dict[str, set[str]]] = {
    "landcover_caption": {"windows", "top", "shares", "min_px"},
    "osm_caption": {"focus", "tags", "visible", "min_px"},
    "metadata_caption": {"place", "decimals"},
    "vqa": {"count", "types", "counts", "area_bins", "visible", "min_px"},
}


def _rising(values: tuple[float, ...]) -> tuple[float, ...]:
    for i, (low, high) in enumerate(pairwise(values)):
        if low >= high:
            raise refused(f"{high:g} is not more than {low:g} before it", at=str(i + 1))
    return values


class TextLayer(Node):
    """One text layer; a kind has further options of its own."""

    kind: Literal["landcover_caption", "osm_caption", "metadata_caption", "vqa"] = Field(
        description="What is written."
    )
    from_: Text | None = Field(
        None,
        alias="from",
        description="Layer that it is written from: of classes, for osm_caption of features. metadata_caption: any "
        "layer; the first one if absent.",
    )
    seed: Seed = Field(0, description="Seed of every choice of words, objects and questions.")
    prompt: Flag = Field(
        False, description="Write <layer>_prompt too: what a language model may be given. No model is called."
    )
    windows: Annotated[tuple[Window, ...], AfterValidator(distinct)] = Field(
        ("quadrants", "centre"),
        description="landcover_caption: parts of the chip that are told beside the whole.",
    )
    top: Count = Field(3, description="landcover_caption: most classes that are told of a window.")
    shares: Literal["bins", "percent"] = Field(
        "bins", description="landcover_caption: shares in five words, or in per cent."
    )
    focus: Literal["random", "largest", "central"] = Field(
        "random", description="osm_caption: which visible object the caption is about; random by the seed."
    )
    tags: Annotated[tuple[Text, ...], AfterValidator(distinct)] | None = Field(
        None,
        description="osm_caption: keys of tags that are told, in this order; those that describe if absent.",
    )
    place: Annotated[tuple[Text, ...], AfterValidator(distinct)] = Field(
        (), description="metadata_caption: attributes that are told, such as country."
    )
    decimals: Annotated[int, Strict(), Field(ge=0, le=6)] = Field(
        1, description="metadata_caption: decimals of longitude and latitude."
    )
    count: Annotated[Count, Field(le=100)] = Field(3, description="vqa: most questions a chip.")
    types: Annotated[tuple[Question, ...], Field(min_length=1), AfterValidator(distinct)] = Field(
        ("presence", "count", "comparison", "area", "relation", "nearest"),
        description="vqa: types of questions; count and nearest need features.",
    )
    counts: Literal["bins", "exact"] = Field(
        "bins", description="vqa: answers of counts: 0, 1 to 10, 11 to 100, …; or numbers."
    )
    area_bins: Annotated[tuple[Positive, ...], Field(min_length=1), AfterValidator(_rising)] = Field(
        (1e2, 1e3, 1e4, 1e5, 1e6), description="vqa: bounds between the answers of areas, in m²."
    )
    visible: dict[Text, Positive] = Field(
        default_factory=dict,
        description="osm_caption, vqa: by class, metres a pixel at which it can just be seen, such as {tree: 0.6}; "
        "points are seen only where it says so.",
    )
    min_px: Count | None = Field(
        None,
        description="Least pixels of a class that is told of a raster, 20 if absent; of an object that is seen, 4 if "
        "absent (a line's are along it).",
    )

    @model_validator(mode="after")
    def _keys_fit(self) -> Self:
        strangers = sorted(self.model_fields_set - _SHARED - _OWN[self.kind])
        if strangers:
            raise refused(f"is no option of kind {self.kind!r}", at=strangers[0])
        if self.from_ is None and self.kind != "metadata_caption":
            raise refused(f"kind {self.kind!r} needs 'from'")
        return self
