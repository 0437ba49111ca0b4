"""The contract between those who make data sets and those who use them."""

from manifests.dataset import DataSet, open_dataset
from manifests.errors import ConflictError, CorruptError, UserError
from manifests.selection import select
from manifests.verify import Report, verify

__all__ = ["ConflictError", "CorruptError", "DataSet", "Report", "UserError", "open_dataset", "select", "verify"]
