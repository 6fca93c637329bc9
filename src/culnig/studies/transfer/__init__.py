"""Transfer: does a set that was found on one benchmark carry another benchmark, too?"""

from culnig.studies.transfer.cells import cell_table, known
from culnig.studies.transfer.sets import TransferFrom, TransferSettings
from culnig.studies.transfer.study import TransferStudy

__all__ = ["TransferFrom", "TransferSettings", "TransferStudy", "cell_table", "known"]
