// How many blocks of a kernel a multiprocessor holds, against what NVIDIA's documentation says by hand.

#include "check.h"
#include "emulation/occupancy.h"

using rfkernels::emulation::Occupancy;
using rfkernels::emulation::occupancy_of;

namespace {

int blocks_of(int architecture, int lanes, int registers, std::size_t shared_bytes) {
    Occupancy occupancy;
    CHECK(occupancy_of(architecture, {registers, lanes, shared_bytes}, &occupancy));
    CHECK(occupancy.warps == occupancy.blocks * ((lanes + 31) / 32) && occupancy.warps <= occupancy.most_warps);
    return occupancy.blocks;
}

void test_what_limits() {
    // Lanes: 2048 of them, 1024 on sm_75, 1536 where the multiprocessor is a smaller one.
    CHECK(blocks_of(90, 512, 16, 0) == 4);
    CHECK(blocks_of(75, 512, 16, 0) == 2);
    CHECK(blocks_of(86, 512, 16, 0) == 3 && blocks_of(89, 512, 16, 0) == 3 && blocks_of(120, 512, 16, 0) == 3);
    // Blocks: 32, 16 or 24.
    CHECK(blocks_of(90, 32, 16, 0) == 32 && blocks_of(75, 32, 16, 0) == 16 && blocks_of(89, 32, 16, 0) == 24);
    // Registers: 65536, 256 lanes of 128 are half of them.
    CHECK(blocks_of(100, 256, 128, 0) == 2 && blocks_of(100, 256, 64, 0) == 4);
    // Shared memory: a KiB of each block is the driver's from sm_80 on.
    CHECK(blocks_of(80, 128, 16, 40 * 1024) == 4 && blocks_of(90, 128, 16, 40 * 1024) == 5);
    CHECK(blocks_of(75, 128, 16, 32 * 1024) == 2 && blocks_of(86, 128, 16, 33 * 1024) == 2);
}

void test_what_makes_no_sense() {
    Occupancy occupancy;
    CHECK(!occupancy_of(70, {32, 128, 0}, &occupancy));
    CHECK(!occupancy_of(90, {32, 0, 0}, &occupancy));
}

}  // namespace

int main() {
    test_what_limits();
    test_what_makes_no_sense();
    return 0;
}
