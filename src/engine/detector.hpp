// Adaptive failure detector (placeholder until the room is built).
#pragma once
