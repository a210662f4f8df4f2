"""What a user asks for: study files, search spaces and recipes, read and validated."""

from wst.study.load import load_study
from wst.study.recipe import Recipe
from wst.study.study import Study
from wst.study.variant import Variant

__all__ = ["Recipe", "Study", "Variant", "load_study"]
