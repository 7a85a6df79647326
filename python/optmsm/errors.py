"""Errors: each says what is wrong, where, and what to do, with the text that the program ``optmsm`` has for it."""


class Error(Exception):
    """An error of the engine. The other classes tell kinds apart."""


class ConfigError(Error, ValueError):
    """A setting that cannot work, or that is not known."""


class ArgumentError(Error, ValueError):
    """An argument that cannot be."""


class DataError(Error, ValueError):
    """Rows that cannot be used: the text names the row and the column."""


class FileError(Error, OSError):
    """A file or folder that is missing, damaged, of another run, or refused by the system."""

    def __str__(self) -> str:
        return Exception.__str__(self)


class DeviceError(Error, RuntimeError):
    """A device that is not there, or has not the memory."""


class DivergedError(Error, ArithmeticError):
    """Training whose loss is no longer a number; the text names the likely cause."""


class Stopped(Error):
    """Work that was stopped on request; what was done is saved, and the text says how to continue it."""
