"""How many servers a load needs: queueing models, and nothing that talks to a kernel."""

from actors.planning.capacity import Goal, Plan, plan_servers
from actors.planning.queueing import Load, Steady, m_g_1, m_m_1, m_m_c, m_m_c_k

__all__ = ["Goal", "Load", "Plan", "Steady", "m_g_1", "m_m_1", "m_m_c", "m_m_c_k", "plan_servers"]
