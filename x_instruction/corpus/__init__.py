"""Where passages come from, and what is dropped."""
