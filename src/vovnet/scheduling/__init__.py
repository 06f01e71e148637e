"""When which job runs: run times, the choice of jobs, and simulated runs of a whole DAG."""
