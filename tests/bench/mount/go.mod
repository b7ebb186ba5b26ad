module skyvol/tests/bench/mount

go 1.19
