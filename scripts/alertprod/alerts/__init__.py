"""Alerts: forced photometry, stamps and packets of a visit."""

from alertprod.alerts.handover import publish_visit
from alertprod.alerts.visit import images_by_detector, package_alerts

__all__ = ["images_by_detector", "package_alerts", "publish_visit"]
