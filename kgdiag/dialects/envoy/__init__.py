"""An Envoy's own config, as its admin interface dumps it, in the neutral proxy model: what is in effect.

Source of every field: envoyproxy.io/docs/envoy/latest/api-v3, in the JSON that ``/config_dump`` prints
(snake case, defaults left out).
"""

from __future__ import annotations
