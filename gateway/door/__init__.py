"""The door: where HTTP ends. What comes in is measured, timed and read strictly; what goes out is an answer or a problem.

`calls` says what a route is and what it sees, `border` answers one request, `listener` owns the sockets. The routes themselves
are values, made in `gateway.routes`; no other room of the gateway knows HTTP.
"""

from gateway.door.border import Door, problem
from gateway.door.calls import Answer, Asked, File, Parameter, Parts, Route, Takes
from gateway.door.listener import Listener

__all__ = ["Answer", "Asked", "Door", "File", "Listener", "Parameter", "Parts", "Route", "Takes", "problem"]
