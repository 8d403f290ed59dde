"""The Gateway API, common to its implementations; each of them is a dialect of its own.

``attach`` says which routes attach where, ``listeners`` and ``routes`` lower them to the neutral proxy
model, ``provider`` is what an implementation may do its own way.
"""

from __future__ import annotations

from kgdiag.dialects.base import Dialect
from kgdiag.dialects.gateway_api.relations import RELATIONS

DIALECT = Dialect("gateway-api", relations=RELATIONS)
