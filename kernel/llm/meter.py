"""What one completion has of its owner's budget; data of kernel/llm/metering.py."""

from __future__ import annotations

from dataclasses import dataclass, field

from kernel.budget.accounts import Account
from kernel.budget.lines import Waiter
from kernel.llm.call_cost import Amounts


@dataclass(slots=True, eq=False)
class Meter:
    """See the module head.

    bound: of a call to an endpoint, all it may come to; empty for a local completion.
    allowance: tokens of a local completion that are charged or reserved.
    """

    account: Account
    bound: Amounts = field(default_factory=dict)
    reserved: Amounts = field(default_factory=dict)
    charged: Amounts = field(default_factory=dict)
    allowance: int = 0
    block_size: int = 0
    waiter: Waiter | None = None
