"""Conversions between poses, rotations and translations from world to camera, and quaternions."""

from __future__ import annotations

import numpy as np

# The length of a quaternion may be off by this much: some files hold only three digits.
LENGTH_TOLERANCE = 1e-2


def from_world(pose: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return rotation (3, 3) and translation (3,) of the inverse of a `world_from_camera`."""
    rotation = pose[:3, :3].T
    return rotation, -rotation @ pose[:3, 3]


def to_world(rotation: np.ndarray, translation: np.ndarray) -> np.ndarray:
    """Return the `world_from_camera` (4, 4) of a rotation and translation from world to camera.

    It inverts `from_world`: bit for bit in the rotation, to rounding in the centre. The centre is
    solved for, so this holds even if the rotation is orthonormal to a few digits only.
    """
    pose = np.eye(4)
    pose[:3, :3] = rotation.T
    try:
        pose[:3, 3] = np.linalg.solve(rotation, -translation)
    except np.linalg.LinAlgError:
        raise ValueError("a rotation is singular; expected three unit vectors") from None
    return pose


def quaternion_from_rotation(rotation: np.ndarray) -> np.ndarray:
    """Return (w, x, y, z) of a rotation (3, 3), with length 1 and w >= 0.

    The largest component is computed first, so that nothing cancels. Source: Shepperd, "Quaternion
    from rotation matrix", 1978.
    """
    m = rotation
    squares = np.array([m.trace(), m[0, 0], m[1, 1], m[2, 2]])
    largest = int(np.argmax(squares))
    if largest == 0:
        q = np.array([1.0 + m.trace(), m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]])
    else:
        i = largest - 1
        j, k = (i + 1) % 3, (i + 2) % 3
        q = np.empty(4)
        q[0] = m[k, j] - m[j, k]
        q[1 + i] = 1.0 + m[i, i] - m[j, j] - m[k, k]
        q[1 + j] = m[j, i] + m[i, j]
        q[1 + k] = m[k, i] + m[i, k]
    q /= np.linalg.norm(q)
    return -q if q[0] < 0.0 else q


def rotation_from_quaternion(q: np.ndarray, where: str) -> np.ndarray:
    """Return the rotation (3, 3) of (w, x, y, z), whose length must be 1 to two digits."""
    length = float(np.linalg.norm(q))
    if not abs(length - 1.0) <= LENGTH_TOLERANCE:
        raise ValueError(f"the quaternion of {where} has length {length:.6g}; expected 1")
    w, x, y, z = q / length
    return np.array(
        [
            [1.0 - 2.0 * (y * y + z * z), 2.0 * (x * y - w * z), 2.0 * (x * z + w * y)],
            [2.0 * (x * y + w * z), 1.0 - 2.0 * (x * x + z * z), 2.0 * (y * z - w * x)],
            [2.0 * (x * z - w * y), 2.0 * (y * z + w * x), 1.0 - 2.0 * (x * x + y * y)],
        ]
    )
