module skyvol/tests/bench/s3

go 1.19
