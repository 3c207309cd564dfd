"""Ready answers: small control handlers for what most runs need.

Hand them to ``hexviz.run(..., policies=[...])``, or register one with
``control.register(policy, priority=policy.priority, event_types=policy.event_types)``. They are asked in this order:
:class:`Gate` (20), :class:`Budget` (30), :class:`Timeout` (35), :class:`RateLimit` (40), :class:`CircuitBreaker`
(60), :class:`Validate` (90), :class:`Retry` (100), :class:`Fallback` (200).
"""

from hexviz.policies.budget import Budget
from hexviz.policies.circuit_breaker import CircuitBreaker
from hexviz.policies.fallback import Fallback
from hexviz.policies.gate import Gate
from hexviz.policies.policy import Policy
from hexviz.policies.rate_limit import RateLimit
from hexviz.policies.retry import Retry
from hexviz.policies.timeout import Timeout
from hexviz.policies.validate import Validate

__all__ = ["Budget", "CircuitBreaker", "Fallback", "Gate", "Policy", "RateLimit", "Retry", "Timeout", "Validate"]
